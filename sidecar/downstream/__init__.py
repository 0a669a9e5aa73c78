"""Towards the app: listening, routing, exchanging, answering."""
