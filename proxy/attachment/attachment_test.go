package attachment_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/attachment"
	"github.com/conclave-llm/conclave/proxy/files"
	"github.com/conclave-llm/conclave/proxy/files/filestest"
	"github.com/conclave-llm/conclave/resource"
)

var (
	mine    = &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_1"}}}
	another = &resource.Principal{Key: &resource.Key{Meta: resource.Meta{ID: "key_2"}}}
)

func shelf(t testing.TB, name, text string) (*files.Shelf, string) {
	t.Helper()
	s := files.New(filestest.New(), nil)
	f, err := s.Create(t.Context(), &files.Upload{Name: name, Purpose: files.PurposeUserData, Body: []byte(text), Owners: resource.Owners{KeyID: "key_1"}, Days: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s, f.ID
}

func TestInline(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		at         llm.Endpoint
		file, text string
		body, want string
	}{
		{
			"chat", llm.Chat, "a.pdf", "%PDF-",
			`{"model":"m", "messages":[{"role":"user","content":[{"type":"text","text":"\"file_id\""},{"type":"file","file":{"file_id":"ID"}}]}],"x":1}`,
			`{"model":"m", "messages":[{"role":"user","content":[{"type":"text","text":"\"file_id\""},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]}],"x":1}`,
		},
		{
			"chat, twice, with more members", llm.Chat, "a.txt", "hi",
			`{"messages":[{"content":[{"file":{"x":[1],"filename":"mine","file_id":"ID"},"type":"file"},{"file":{"file_id":"ID"},"type":"file"}]}]}`,
			`{"messages":[{"content":[{"file":{"x":[1],"filename":"a.txt","file_data":"data:text/plain;base64,aGk="},"type":"file"},{"file":{"filename":"a.txt","file_data":"data:text/plain;base64,aGk="},"type":"file"}]}]}`,
		},
		{
			"responses", llm.Responses, "no end", "\x89PNG\r\n\x1a\n",
			`{"input":[{"role":"user","content":[{"type":"input_image","file_id":"ID","detail":"low"},{"type":"input_file","file_id":"ID"}]}],"metadata":{"file":{"file_id":"ID"}}}`,
			`{"input":[{"role":"user","content":[{"type":"input_image","detail":"low","image_url":"data:image/png;base64,iVBORw0KGgo="},{"type":"input_file","filename":"no end","file_data":"data:image/png;base64,iVBORw0KGgo="}]}],"metadata":{"file":{"file_id":"ID"}}}`,
		},
		{
			"messages", llm.Messages, "a.png", "\x89PNG\r\n\x1a\n",
			`{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"ID"},"cache_control":{"type":"ephemeral"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="},"cache_control":{"type":"ephemeral"}}]}]}`,
		},
		{
			"messages, a text", llm.Messages, "a.md", "# \"x\"",
			`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"ID"}}]}]}`,
			`{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"# \"x\""}}]}]}`,
		},
		{"an id of a provider's", llm.Chat, "a", "x", `{"messages":[{"content":[{"type":"file","file":{"file_id":"file-abc"}}]}]}`, ""},
		{"what is no file", llm.Chat, "a", "x", `{"messages":[{"content":[{"type":"tool","args":{"file_id":"ID"}}]}]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, id := shelf(t, tt.file, tt.text)
			body := []byte(strings.ReplaceAll(tt.body, "ID", id))
			pieces, size, err := attachment.Inline(t.Context(), s, &attachment.Request{Endpoint: tt.at, Who: mine, Body: body, Most: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			got := bytes.Join(pieces, nil)
			if string(got) != strings.ReplaceAll(tt.want, "ID", id) || size != int64(len(got)) {
				t.Errorf("got %s (%d of %d bytes)\nwant %s", got, size, len(got), tt.want)
			}
		})
	}
}

func TestInline_refused(t *testing.T) {
	t.Parallel()
	s, id := shelf(t, "a.txt", strings.Repeat("x", 1000))
	one := `{"type":"file","file":{"file_id":"` + id + `"}}`
	for _, tt := range []struct {
		name string
		who  *resource.Principal
		body string
		most int64
		kind llm.Kind
	}{
		{"another's", another, `{"messages":[` + one + `]}`, 1 << 20, llm.NotFound},
		{"one that is not there", mine, `{"messages":[{"type":"file","file":{"file_id":"file-` + strings.Repeat("0", 48) + `"}}]}`, 1 << 20, llm.NotFound},
		{"too large", mine, `{"messages":[` + one + `,` + one + `]}`, 2000, llm.TooLarge},
		{"too many", mine, `{"messages":[` + strings.Repeat(one+",", 51) + `1]}`, 1 << 20, llm.Invalid},
	} {
		_, _, err := attachment.Inline(t.Context(), s, &attachment.Request{Endpoint: llm.Chat, Who: tt.who, Body: []byte(tt.body), Most: tt.most})
		if e, ok := errors.AsType[*llm.Error](err); !ok || e.Kind != tt.kind {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

func FuzzInline(f *testing.F) {
	s, id := shelf(f, "a.txt", "hi")
	f.Add(`{"messages":[{"content":[{"type":"file","file":{"file_id":"`+id+`"}}]}]}`, uint8(llm.Chat))
	f.Add(`{"messages":[{"content":[{"source":{"type":"file","file_id":"`+id+`"}}]}]}`, uint8(llm.Messages))
	f.Add(`{"input":[{"type":"input_image","file_id":"`+id+`"},[[{"file_id":1}]]]}`, uint8(llm.Responses))
	f.Fuzz(func(t *testing.T, body string, at uint8) {
		pieces, size, err := attachment.Inline(context.Background(), s, &attachment.Request{Endpoint: llm.Endpoint(at), Who: mine, Body: []byte(body), Most: 1 << 20})
		if err != nil || pieces == nil {
			return
		}
		out := bytes.Join(pieces, nil)
		if int64(len(out)) != size || json.Valid([]byte(body)) && !json.Valid(out) {
			t.Errorf("%s became %s", body, out)
		}
	})
}
