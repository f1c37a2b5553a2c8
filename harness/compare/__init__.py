"""Two stored runs compared: environments, cells, noise floor, gate."""
