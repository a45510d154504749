"""A run while it grows: the report's curves on a local page, drawn again as steps are made."""
