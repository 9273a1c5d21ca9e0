"""A local web page on which people judge answers, blind; votes lie in an SQLite file.

study turns files of prompts and answers into items, store keeps items and votes, app serves the
page. Nothing here knows of models.
"""
