package auth

import (
	"net/http"
	"testing"

	wire "google.golang.org/protobuf/proto"

	"github.com/conclave-llm/conclave/plugins/proto"
)

// FuzzAnswer reads whatever a plugin may say: what is taken names somebody, or refuses with a status.
func FuzzAnswer(f *testing.F) {
	for _, a := range []*proto.AuthAnswer{
		{Id: 1, Kind: &proto.AuthAnswer_Identity{Identity: &proto.Identity{KeyId: "key_1"}}, CacheSeconds: 5},
		{Id: 1, Kind: &proto.AuthAnswer_Identity{Identity: &proto.Identity{UserId: "u", TeamId: "t", Rpm: 5, ExpiresUnix: 1}}},
		{Id: 1, Kind: &proto.AuthAnswer_Refusal{Refusal: &proto.Refusal{Status: 403, Code: "a\nb", Message: "\x00"}}},
		{Id: 1, Kind: &proto.AuthAnswer_Key{Key: &proto.KeyVerdict{Refused: "no"}}},
		{Id: 1, Error: "x"},
	} {
		b, err := wire.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a proto.AuthAnswer
		if wire.Unmarshal(b, &a) != nil {
			return
		}
		got, err := answerFromWire(&a)
		if err != nil {
			return
		}
		if i := got.Identity; i != nil && (i.KeyID == "" && i.KeyHash == "" && i.UserID == "" && i.TeamID == "" && i.CustomerID == "" || i.RPM < 0 || i.TPM < 0 || i.Parallel < 0) {
			t.Errorf("an identity of nobody: %+v", i)
		}
		if r := got.Refusal; r != nil {
			if r.Status != http.StatusUnauthorized && r.Status != http.StatusForbidden || len(r.Code) > maxCode || len(r.Message) > maxText+len("…") {
				t.Errorf("refused with %+v", r)
			}
			for _, c := range r.Code + r.Message {
				if c < ' ' && c != 0 {
					t.Errorf("a control character: %+v", r)
				}
			}
		}
		if got.CacheFor < 0 {
			t.Errorf("kept for %v", got.CacheFor)
		}
	})
}
