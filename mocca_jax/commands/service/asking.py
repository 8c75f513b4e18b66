"""How the service is asked."""

FIELD = "file"
FORM = f"curl -F {FIELD}=@picture.png"
KEY = "MOCCA_API_KEY"  # the variable of the environment that holds the key, where one is wanted
WITH_KEY = f'-H "X-API-Key: ${KEY}"'
ASK = f"send the picture file as it is: curl --data-binary @picture.png, or as a form: {FORM}"
