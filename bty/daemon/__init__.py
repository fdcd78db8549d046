"""The aiohttp face of the services: thin."""
