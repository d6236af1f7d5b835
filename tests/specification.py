"""Examples of the specification: messages (1.8), and parameters that are locked (7.3)."""

BLOCKING = b"""{"transid":["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123],
 "action":{"path":"acme/tools","name":"resize","version":"0.0.7","binding":"zoe/mytools"},
 "revision":"4-5d1f0c9be2a74c0e8d7b6a5948372615",
 "user":{"subject":"zoe-subject",
  "namespace":{"name":"zoe","uuid":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f"},
  "authkey":{"api_key":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:QmFzZTY0LXNlY3JldC1vZi1zaXh0eS1mb3VyLWNoYXJhY3RlcnMtZXhhY3RseSEh"},
  "rights":["READ","PUT","DELETE","ACTIVATE"],
  "limits":{"invocationsPerMinute":300,"storeActivations":true,"maxActionMemory":512,"maxPayloadSize":"1 MB"}},
 "activationId":"3f2a9c5d7e1b48068a4d2c6e90b1f735",
 "rootControllerIndex":{"asString":"0","instanceType":"controller"},
 "blocking":true,
 "content":{"width":640,"LOG_LEVEL":"debug","token":"AAAADKChoqOkpaanqKmqq4j1C9gMukcowHjEnSdg2IFslRJB4lQyFQ=="},
 "initArgs":["LOG_LEVEL"],
 "lockedArgs":{"token":"aes-128"}}"""
"""A blocking call through a package binding, one init parameter, one encrypted parameter."""

HEALTH = b"""{"transid":["sid_invokerHealth",1789999000000],
 "action":{"path":"whisk.system","name":"invokerHealthTestAction0","version":"0.0.1"},
 "revision":null,
 "user":{"subject":"whisk.system",
  "namespace":{"name":"whisk.system","uuid":"0c9d8e7f-6a5b-4c3d-8e1f-0a1b2c3d4e5f"},
  "authkey":{"api_key":"0c9d8e7f-6a5b-4c3d-8e1f-0a1b2c3d4e5f:abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ01"},
  "rights":[],"limits":{}},
 "activationId":"c0ffee00c0ffee00c0ffee00c0ffee00",
 "rootControllerIndex":{"asString":"0","instanceType":"controller"},
 "blocking":false,"initArgs":[],"lockedArgs":{}}"""

COMPONENT = b"""{"transid":["Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0Pp",1790000001500,true,\
["kT3bQ0vYw8sLr1nZx5Hd7JcPe2Mf9Ga4",1790000000123,true]],
 "action":{"path":"zoe","name":"sum","version":"0.0.2"},
 "revision":"2-0123456789abcdef0123456789abcdef",
 "user":{"subject":"zoe-subject","namespace":{"name":"zoe","uuid":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f"},
  "authkey":{"api_key":"7b0a2f5c-1f4e-4a53-9d0a-6f2b7c3d4e5f:QmFzZTY0LXNlY3JldC1vZi1zaXh0eS1mb3VyLWNoYXJhY3RlcnMtZXhhY3RseSEh"},
  "rights":["READ","PUT","DELETE","ACTIVATE"],"limits":{}},
 "activationId":"9b8c7d6e5f4a43218765fedcba012345",
 "rootControllerIndex":{"asString":"1","instanceType":"controller"},
 "blocking":true,
 "content":[1,2,{"n":3}],
 "initArgs":[],"lockedArgs":{},
 "cause":"11112222333344445555666677778888",
 "traceContext":{"X-B3-TraceId":"80f198ee56343ba8","X-B3-SpanId":"e457b5a2e4d86bd1","X-B3-Sampled":"1"}}"""
"""The second component of a sequence, array input, tracing on, extra logging on."""

KEY_128 = "AAECAwQFBgcICQoLDA0ODw=="
KEY_256 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SEALED_128 = "AAAADKChoqOkpaanqKmqq4j1C9gMukcowHjEnSdg2IFslRJB4lQyFQ=="
"""`"s3cr3t"` (spec 7.3)."""
SEALED_256 = (
    "AAAAgAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj9AQUJDREVGR0hJSktMTU5P"
    "UFFSU1RVVldYWVpbXF1eX2BhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ent8fX5/4fSOBgsQsXNbYvGSpEhcv6jkyTqN/14="
)
"""`{"n":1}` (spec 7.3)."""
