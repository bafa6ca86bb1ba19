package resource_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/resource"
)

func TestParseSnapshots(t *testing.T) {
	t.Parallel()
	s, err := resource.ParseSnapshots(json.RawMessage(`{"every": "1h", "keep": 48, "s3": {"bucket": "b", "prefix": "x/"}}`))
	if err != nil || s.Every != time.Hour || s.Keep != 48 || s.S3.URL() != "https://s3.us-east-1.amazonaws.com/b" {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err := resource.ParseSnapshots(json.RawMessage(`{}`)); err != nil || s.Every != 0 || s.Keep != 24 {
		t.Errorf("nothing said: got %+v, %v", s, err)
	}
	for value, want := range map[string]string{
		`{"every": "1s"}`:                     "every",
		`{"every": "often"}`:                  "every",
		`{"keep": 0}`:                         "keep",
		`{"dir": "x", "s3": {"bucket": "b"}}`: "not in both",
		`{"s3": {}}`:                          "s3.bucket",
		`{"s3": {"bucket": "a/b"}}`:           "s3.bucket",
		`{"s3": {"bucket": "b", "endpoint": "minio:9000"}}`:   "s3.endpoint",
		`{"s3": {"bucket": "b", "endpoint": "http://u:p@h"}}`: "s3.endpoint",
		`{"s3": {"bucket": "b", "region": "a/b"}}`:            "s3.region",
		`{"s3": {"bucket": "b", "prefix": "/x"}}`:             "s3.prefix",
		`{"when": "1h"}`: "when: there is no such field; there are dir, every, keep, s3",
		`[]`:             "is not",
	} {
		if _, err := resource.ParseSnapshots(json.RawMessage(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", value, err, want)
		}
	}
}

func FuzzParseSnapshots(f *testing.F) {
	f.Add([]byte(`{"every": "1h", "keep": 48, "s3": {"bucket": "b", "endpoint": "http://127.0.0.1:9000"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := resource.ParseSnapshots(b)
		if err == nil && (s.Keep < 1 || s.Every != 0 && s.Every < time.Minute) {
			t.Errorf("%q: got %+v", b, s)
		}
	})
}
