// Package secret keeps secrets secret: Text shows a fingerprint wherever it is printed, KEK
// is the key outside the replicated state that wraps what is inside it, Keyring seals the
// fields of records under data keys, and Resolve reads references such as "env://NAME".
//
// Sealing is AES-256-GCM with a random 96-bit nonce. Its additional data binds a box to the
// kind, id and field of the record and to the data key, so that a box moved elsewhere does
// not open. A box is nonce ‖ ciphertext ‖ tag.
package secret
