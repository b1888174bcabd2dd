"""What convinces someone who trusts nobody? Bytes, leaves, commitments: algorithms without I/O."""
