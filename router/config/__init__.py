"""models.yaml: read, validated, frozen."""
