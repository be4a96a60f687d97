"""Recipes: how each shipped model is trained."""
