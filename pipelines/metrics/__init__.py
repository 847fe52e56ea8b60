"""What `ganinv evaluate` measures: one small class or function per metric, and the table that names them."""
