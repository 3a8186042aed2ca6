"""Does structured output keep its promise, and what does it cost? Checker, real model, hostile upstream, suite."""
