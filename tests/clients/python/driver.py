"""The loop around a Kafka client that obeys JSON lines; see the README of the clients."""

import base64
import json
import sys
import traceback


def encode(data):
    """Bytes to the base64 of the language."""
    return None if data is None else base64.b64encode(data).decode()


def decode(text):
    """The base64 of the language to bytes."""
    return None if text is None else base64.b64decode(text)


def run(client, version, codecs, operations, describe):
    """Serves commands until the input ends; describe gives (class, code, message) of an error."""

    def answer(kind, content):
        print(json.dumps({kind: content}), flush=True)

    names = sorted(operations)
    answer("ok", {"client": client, "version": version, "codecs": codecs, "operations": names})
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer("ok", operations[command["op"]](command))
        except Exception as error:  # every error is an answer
            traceback.print_exc()
            kind, code, message = describe(error)
            answer("error", {"class": kind, "code": code, "message": message})
