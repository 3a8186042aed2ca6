"""A vLLM replica is killed in the middle of streams: does every client get the whole answer?"""
