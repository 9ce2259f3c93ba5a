"""The wire: HTTP, SSE and WebSocket over one store. Thin; whatever decides stands in `core`."""
