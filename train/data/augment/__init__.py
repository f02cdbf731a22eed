"""How clips and stills are varied, composed and mixed."""
