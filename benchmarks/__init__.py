"""How fast is Heard, and does that hold as the record grows?"""
