"""The loops: how does a fact travel from one topic to the next?"""
