"""Facts and rules: which facts are there, and which may follow which?"""
