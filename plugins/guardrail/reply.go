package guardrail

import (
	"cmp"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/conclave-llm/conclave/llm"
)

// MaxBody is the largest body of an answer, in bytes: with what else a verdict says it fits a message.
const MaxBody = MaxAnswer - 1<<20

const typeJSON = "application/json"

// Reply is an answer in the place of a model: a text, or a body in the client's dialect.
type Reply struct {
	Text string
	Body []byte // nil: Text is the answer
	Type string // of Body: its media type with parameters, never ""
}

// Form is a form of answers in the place of a model; more than one are a set.
type Form uint8

// The forms.
const (
	FormText   Form = 1 << iota // a text, which the gateway says in the client's dialect
	FormObject                  // a body that is one JSON object
	FormPlain                   // a body that is a text as it stands
	FormSound                   // a body of audio
)

// formNames are what plugin authors are told.
var formNames = [...]string{"a text", "a body that is a JSON object (" + typeJSON + ")", "a body that is a text (text/plain, text/vtt)", "a body of audio (audio/*)"}

// String lists the forms of the set: "a text or a body of audio (audio/*)".
func (f Form) String() string {
	var names []string
	for i, name := range formNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// taken are the forms that are taken at an endpoint, for whole answers and for streams.
type taken struct{ whole, streamed Form }

var (
	talks   = taken{FormText | FormObject, FormText | FormObject}
	objects = taken{FormObject, FormObject} // there are no streams, whatever the request says
	draws   = taken{whole: FormObject}
	listens = taken{FormText | FormObject | FormPlain, FormText}
	speaks  = taken{FormSound, FormSound}
)

// endpoints are those at which a guardrail may answer, by their names.
var endpoints = map[string]taken{
	llm.Chat.String(): talks, llm.Completions.String(): talks, llm.Responses.String(): talks, llm.Messages.String(): talks,
	llm.GenerateContent.String(): talks, llm.Converse.String(): talks,
	llm.Invoke.String():     {FormText | FormObject, FormText},
	llm.Embeddings.String(): objects, llm.EmbedContent.String(): objects, llm.BatchEmbedContents.String(): objects,
	llm.Moderations.String(): objects, llm.Rerank.String(): objects, llm.OCR.String(): objects,
	llm.Decisions.String(): objects, llm.SystemOne.String(): objects, llm.Extraction.String(): objects,
	llm.Images.String(): draws, llm.ImageEdits.String(): draws, llm.ImageVariations.String(): draws,
	llm.CountTokens.String(): objects, llm.CountContent.String(): objects, llm.InputTokens.String(): objects,
	llm.Transcriptions.String(): listens, llm.Translations.String(): listens, llm.Speech.String(): speaks,
}

// FormsOf are the forms in which a request at the endpoint, by its name in Info, may be answered; 0: in none.
func FormsOf(endpoint string, stream bool) Form {
	if stream {
		return endpoints[endpoint].streamed
	}
	return endpoints[endpoint].whole
}

// Fits says why the verdict, whose action is Answer, has no answer to such a request; nil: it has. What is
// wanted beside the form, such as subtitles, is not looked at.
func (v *Verdict) Fits(i *Info) error {
	r, err := v.reply()
	if err != nil {
		return err
	}
	return r.fits(i)
}

// reply is the answer of a verdict whose action is Answer.
func (v *Verdict) reply() (Reply, error) {
	switch {
	case len(v.Body) == 0 && v.ContentType == "":
		return Reply{Text: v.Answer}, nil
	case v.Answer != "":
		return Reply{}, errors.New("an answer that is a text and a body")
	case len(v.Body) == 0:
		return Reply{}, errors.New("an answer with a content type and no body")
	case len(v.Body) > MaxBody:
		return Reply{}, fmt.Errorf("an answer with a body of %d bytes, more than %d", len(v.Body), MaxBody)
	case len(v.ContentType) > maxHeaderText:
		return Reply{}, errors.New("an answer with a content type that is too long")
	}
	kind, params, err := mime.ParseMediaType(cmp.Or(v.ContentType, typeJSON))
	if err != nil {
		return Reply{}, fmt.Errorf("an answer with the content type %q: %w", v.ContentType, err)
	}
	if kind != typeJSON {
		kind = mime.FormatMediaType(kind, params)
	}
	if kind == "" {
		return Reply{}, fmt.Errorf("an answer with the content type %q, which is none", v.ContentType)
	}
	return Reply{Body: v.Body, Type: kind}, nil
}

// Form is the form of the answer, 0 for none.
func (r *Reply) Form() Form {
	if r.Body == nil {
		return FormText
	}
	kind, _, _ := strings.Cut(r.Type, ";")
	switch {
	case kind == typeJSON:
		return FormObject
	case kind == "text/plain" || kind == "text/vtt":
		return FormPlain
	case strings.HasPrefix(kind, "audio/"):
		return FormSound
	}
	return 0
}

// fits says why the answer is none to such a request; nil: it is.
func (r *Reply) fits(i *Info) error {
	want, form := FormsOf(i.Endpoint, i.Stream), r.Form()
	switch {
	case want == 0 && i.Stream:
		return fmt.Errorf("an answer to a request for %s that streams, which takes none", i.Endpoint)
	case want == 0:
		return fmt.Errorf("an answer to a request for %s, which takes none", i.Endpoint)
	case form == 0:
		return fmt.Errorf("an answer with a body of the type %q to a request for %s: give %s", r.Type, i.Endpoint, want)
	case form&want == 0:
		return fmt.Errorf("an answer that is %s to a request for %s: give %s", form, i.Endpoint, want)
	case form == FormObject:
		return isObject(r.Body)
	case form == FormPlain && !utf8.Valid(r.Body):
		return errors.New("an answer with a body of text that is not UTF-8")
	}
	return nil
}

// isObject says why the body is not one JSON object; nil: it is.
func isObject(body []byte) error {
	v := jsontext.Value(body)
	if v.Kind() != '{' || !v.IsValid() {
		return errors.New("an answer with a body that is not one JSON object")
	}
	return nil
}

// takes says why a verdict's answer cannot be the request's; nil: it can.
func (w *work) takes(v *Verdict) error {
	r, err := v.reply()
	if err == nil {
		err = r.fits(&w.info)
	}
	if err == nil && w.Takes != nil {
		err = w.Takes(&r)
	}
	if err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	return nil
}
