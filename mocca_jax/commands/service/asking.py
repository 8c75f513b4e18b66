"""How the service is asked."""

FIELD = "file"
FORM = f"curl -F {FIELD}=@picture.png"
ASK = f"send the picture file as it is: curl --data-binary @picture.png, or as a form: {FORM}"
