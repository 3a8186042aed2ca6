"""What `routing.hold` costs and saves: how soon streams of a real cascade begin, and how many are right."""
