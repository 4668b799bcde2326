"""A trained model behind HTTP: uploads, two families of endpoints over one bounded queue, and the server's life."""
