"""An HTTP server that speaks OpenAI's protocol, on the standard library alone."""
