"""Does the gateway do what its own OpenAPI document, and OpenAI's SDK, say?"""
