"""Network and batch -> loss with named parts."""
