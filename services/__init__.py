"""Use cases: what can be asked of Heard, and what may be told to it?"""
