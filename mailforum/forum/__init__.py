"""What a list does: no SMTP, no SQL, no templates."""
