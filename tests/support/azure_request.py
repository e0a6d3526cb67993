"""A signed request to Azurite: METHOD PATH?QUERY; prints the answer's body."""

import base64
import datetime
import hashlib
import hmac
import os
import sys
import urllib.parse
import urllib.request

account, key = os.environ["AZURE_STORAGE_ACCOUNT_NAME"], os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
method, target = sys.argv[1:]
url = urllib.parse.urlsplit(os.environ["AZURE_STORAGE_ENDPOINT"] + target)
date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
headers = {"x-ms-date": date, "x-ms-version": "2023-11-03"}
resource = f"/{account}{url.path}"
for name, values in sorted(urllib.parse.parse_qs(url.query, keep_blank_values=True).items()):
    resource += f"\n{name}:{','.join(values)}"
lines = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
text = f"{method}{chr(10) * 12}{lines}{resource}"
signature = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
headers["Authorization"] = f"SharedKey {account}:{signature}"
request = urllib.request.Request(url.geturl(), method=method, headers=headers)
sys.stdout.write(urllib.request.urlopen(request).read().decode())
