"""Reading and writing OpenAI's JSON: requests, answers, choices."""
