"""Which handlers of other libraries write the rows that Heard writes, and how fast? Each runs by itself."""
