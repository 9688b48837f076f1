"""Sizes and numbers of the protocol (DESIGN.md, "Protocol"), and the defaults of the options."""

KEY_BYTES = 32  # K, E_X, H_X, dhmac_X
NONCE_BYTES = 32  # nonce_C, nonce_S
SECRET_BYTES = 32  # x, the secret part of a Diffie-Hellman exponent
GROUP_BYTES = 256  # y_C, y_S, y_SC
TAG_BYTES = 32  # HMAC-SHA256

MESSAGE_MAX = 1024  # payload bytes in a packet
CIPHERTEXT_BYTES = MESSAGE_MAX + 4
PACKET_BYTES = CIPHERTEXT_BYTES + TAG_BYTES

BATCH_PACKETS = 128  # packets handled together; larger batches gain nothing measurable

DEFAULT_CONNECTIONS = 100  # -n
DEFAULT_TIMEOUT = 5.0  # -o, seconds
DEFAULT_RESOLVE_INTERVAL = 60.0  # -r, seconds
