package proxy

import (
	"bytes"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/translate"
	"github.com/conclave-llm/conclave/proxy/view"
)

// foreignMarks are what stands, in a dialect, in what a client got from another vendor's model and sends back: in reasoning,
// signatures and sealed thoughts that this vendor cannot open, and in texts, citations of pages that it has not found. For
// them it refuses the whole request. A conversation
// has them whose model was switched, or whose last turn a fallback has answered.
var foreignMarks = map[llm.Endpoint][][]byte{
	llm.Responses:       {[]byte(`"conclave-signature:`), []byte(`"conclave-data:`)},
	llm.GenerateContent: {[]byte("Y29uY2xhdmUtc2lnbmF0dXJl"), []byte("Y29uY2xhdmUtZGF0")}, // the same in base64
	llm.Messages: {
		[]byte(`"google:`), []byte(`"gAAAA`), []byte(`"signature":""`), []byte(`"signature": ""`),
		[]byte(`"encrypted_index":""`), []byte(`"encrypted_index": ""`),
	},
}

// withoutForeign is a body for a deployment of the client's own dialect without what other vendors have sealed. False: there
// is none of it, or it cannot be taken out, and the body goes as it is.
func (c *Call) withoutForeign(d *view.Deployment, at llm.Endpoint, body []byte) ([]byte, bool) {
	found := false
	for _, mark := range foreignMarks[at] {
		found = found || bytes.Contains(body, mark)
	}
	if !found {
		return nil, false
	}
	in, okIn := provider.InboundOf(at)
	out, okOut := provider.OutboundOf(at)
	if !okIn || !okOut {
		return nil, false
	}
	x, err := translate.Read(in, body, c.asked(), c.fields.Stream)
	if err != nil {
		return nil, false
	}
	t := c.targetOf(d)
	t.Policy = llm.PolicyPass
	raw, err := x.Body(out, &t, c.clamp)
	return raw, err == nil
}
