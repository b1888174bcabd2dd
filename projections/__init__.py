"""Read models: what does the record say, asked from one side at a time?"""
