package codec_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/frame"
	"github.com/conclave-llm/conclave/resource"
)

func TestEncoded_KeepsBytes(t *testing.T) {
	t.Parallel()
	e, err := codec.Encode(resource.Team{Meta: resource.Meta{ID: "t1"}, Name: "one"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := codec.Marshal(e)
	if err != nil || !bytes.Equal(b, e.Raw()) {
		t.Errorf("got %x (%v), want %x", b, err, e.Raw())
	}
	var again codec.Encoded[resource.Team]
	if err := codec.Strict(b, &again); err != nil || again.Value().Name != "one" {
		t.Errorf("got %+v (%v)", again.Value(), err)
	}
	var none codec.Encoded[resource.Team]
	if none.Record() != nil || none.Raw() != nil {
		t.Errorf("the zero value holds %+v", none.Record())
	}
}

func TestStrict(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		b    []byte
		ok   bool
	}{
		{"one field", []byte("\xa1\x62id\x62t1"), true},
		{"unknown field", []byte("\xa1\x62iz\x62t1"), false},
		{"other case", []byte("\xa1\x62ID\x62t1"), false},
		{"twice", []byte("\xa2\x62id\x62t1\x62id\x62t1"), false},
		{"longer than need be", []byte("\xa1\x62id\x78\x02t1"), false},
		{"indefinite length", []byte("\xbf\x62id\x62t1\xff"), false},
		{"more behind it", []byte("\xa1\x62id\x62t1\x00"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var v struct {
				ID string `json:"id"`
			}
			if err := codec.Strict(tt.b, &v); (err == nil) != tt.ok {
				t.Errorf("Strict(%x): got %v, want ok %v", tt.b, err, tt.ok)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	t.Parallel()
	e, err := codec.Encode(resource.Key{Meta: resource.Meta{ID: "k1"}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := codec.Record[resource.Key](frame.Value{Version: 7, Flags: frame.FlagBlocked, Payload: e.Raw()})
	if err != nil || !k.Blocked || k.Version != 7 {
		t.Errorf("got %+v (%v)", k, err)
	}
	if _, err := codec.Record[resource.Key](frame.Value{Payload: []byte{0xff}}); !errors.Is(err, frame.ErrDamaged) {
		t.Errorf("got %v, want %v", err, frame.ErrDamaged)
	}
}

func FuzzStrict(f *testing.F) {
	e, err := codec.Encode(resource.Key{Meta: resource.Meta{ID: "k1"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Raw())
	f.Fuzz(func(t *testing.T, b []byte) {
		var k resource.Key
		if codec.Strict(b, &k) != nil {
			return
		}
		if again, err := codec.Marshal(k); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as what is written %x (%v)", b, again, err)
		}
	})
}
