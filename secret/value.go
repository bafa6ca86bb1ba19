package secret

import (
	"encoding/base64"
	"errors"
	"strings"
)

// SealedPrefix begins a value that is sealed under the KEK, for a node's environment or file.
const SealedPrefix = "sealed:"

// purposeValue is what the KEK wraps such values for.
const purposeValue = "value"

// SealValue seals a value for a node's environment or file.
func SealValue(k Wrapper, value Text) (string, error) {
	box, err := k.Wrap([]byte(value.Reveal()), purposeValue)
	if err != nil {
		return "", err
	}
	return SealedPrefix + base64.RawURLEncoding.EncodeToString(box), nil
}

// OpenValue opens what SealValue made.
func OpenValue(k Wrapper, sealed string) (Text, error) {
	text, ok := strings.CutPrefix(sealed, SealedPrefix)
	box, err := base64.RawURLEncoding.DecodeString(text)
	if !ok || err != nil {
		return Text{}, errors.New("open sealed value: it is not what conclave secret seal writes")
	}
	plain, err := k.Unwrap(box, purposeValue)
	return New(string(plain)), err
}
