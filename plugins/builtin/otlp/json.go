package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// inJSON is a message in OTLP's JSON: that of Protobuf, but for enumerations as numbers and the ids of traces and spans in hexadecimal.
func inJSON(m proto.Message) ([]byte, error) {
	text, err := protojson.MarshalOptions{UseEnumNumbers: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	inHex(doc)
	return json.Marshal(doc)
}

// inHex writes the ids in a document anew.
func inHex(doc any) {
	switch v := doc.(type) {
	case []any:
		for _, e := range v {
			inHex(e)
		}
	case map[string]any:
		for name, e := range v {
			text, ok := e.(string)
			if id, err := base64.StdEncoding.DecodeString(text); ok && err == nil && (name == "traceId" || name == "spanId") {
				v[name] = hex.EncodeToString(id)
				continue
			}
			inHex(e)
		}
	}
}
