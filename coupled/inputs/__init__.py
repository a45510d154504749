"""What all arms share: the order of samples, views, labels, and the certificate of it all."""
