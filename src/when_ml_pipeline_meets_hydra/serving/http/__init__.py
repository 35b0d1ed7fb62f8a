"""The HTTP interface of the model server."""
