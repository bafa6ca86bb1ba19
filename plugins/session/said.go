package session

import "google.golang.org/grpc/status"

// Said is the error of a call to a plugin in the plugin's words, without those of gRPC, for people. It wraps err.
func Said(err error) error {
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		return &said{text: s.Message(), err: err}
	}
	return err
}

// said is an error with another text.
type said struct {
	text string
	err  error
}

// Error implements error.
func (s *said) Error() string { return s.text }

// Unwrap returns what the text is of.
func (s *said) Unwrap() error { return s.err }
