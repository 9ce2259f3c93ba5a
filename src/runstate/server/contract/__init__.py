"""The contract for machines: OpenAPI, AsyncAPI and JSON Schema, made from the code that they describe."""
