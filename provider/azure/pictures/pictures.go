// Package pictures has pictures made by models that Azure AI Foundry serves in forms that are not
// OpenAI's: Black Forest Labs' FLUX.2 and Microsoft's own MAI-Image, as their pages of 2026 have them.
package pictures

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/multipart"
	"github.com/conclave-llm/conclave/llm/picture"
)

// Row is the row of the table of providers that serves these models.
const Row = "azure_ai_pictures"

// DefaultVersion is that of the API for deployments that name none in their option api_version.
const DefaultVersion = "preview"

// Serves says whether a model is one of these.
func Serves(model string) bool { return flux(model) != "" || mai(model) }

// flux is the part of the path of a model of the family FLUX.2, "" for others: it is the model's name with
// dashes alone.
func flux(model string) string {
	name := strings.NewReplacer(".", "-", "_", "-").Replace(strings.ToLower(model))
	if !strings.HasPrefix(name, "flux-2") {
		return ""
	}
	return name
}

func mai(model string) bool { return strings.HasPrefix(strings.ToLower(model), "mai-image") }

// RootOf is the resource, whose address may be one of OpenAI's paths or of Foundry's own.
func RootOf(_ llm.Endpoint, base string) string {
	for _, end := range []string{"/openai/v1", "/openai", "/models"} {
		base = strings.TrimSuffix(base, end)
	}
	return base
}

// Path is where a model's pictures are made, and changed.
func Path(model string) string {
	if mai(model) {
		return "/mai/v1/images/generations"
	}
	return "/providers/blackforestlabs/v1/" + flux(model)
}

// changes is where MAI-Image changes a picture.
const changes = "/mai/v1/images/edits"

// Format is the form of pictures.
type Format struct{}

// options are the further members that FLUX.2 takes, and maxInputs is how many pictures it may be given.
var options = []string{"seed", "safety_tolerance", "aspect_ratio", "guidance", "steps"}

const maxInputs = 8

// MAI-Image's bounds, in pixels.
const (
	maiLeast = 768
	maiMost  = 1_056_768
)

// EncodeRequest writes a request for the provider.
func (Format) EncodeRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	req.DropMask(t)
	if mai(t.Model) {
		return maiRequest(req, t)
	}
	if len(req.Inputs) > maxInputs {
		return nil, llm.Unsayable("image", "The model takes "+strconv.Itoa(maxInputs)+" pictures at most.")
	}
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), req.Prompt)
	for i := range req.Inputs {
		name := "input_image"
		if i > 0 {
			name += "_" + strconv.Itoa(i+1)
		}
		dst = req.Inputs[i].AppendBase64(llm.AppendKey(dst, name))
	}
	if w, h := req.Pixels(); w > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "width"), w, 10)
		dst = strconv.AppendInt(llm.AppendKey(dst, "height"), h, 10)
	}
	if req.N > 0 {
		dst = strconv.AppendInt(llm.AppendKey(dst, "num_images"), req.N, 10)
	}
	if req.Format != "" {
		dst = llm.AppendString(llm.AppendKey(dst, "output_format"), req.Format)
	}
	dst = req.AppendKnown(dst, options...)
	lacks := []string{"quality", "background"}
	if req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	req.Drop(t, options, lacks...)
	return &llm.Sent{Body: append(dst, '}')}, nil
}

// maiRequest writes a request of MAI-Image, which must be told the size, and is given a picture in a form.
func maiRequest(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if req.Count() > 1 {
		return nil, llm.Unsayable("n", "The model's provider makes one picture at a time.")
	}
	w, h := req.Pixels()
	if w == 0 {
		w, h = 1024, 1024
	}
	if w < maiLeast || h < maiLeast || w*h > maiMost {
		return nil, llm.Unsayable("size", "The model makes pictures of "+strconv.Itoa(maiLeast)+" pixels or more each way, and of "+strconv.Itoa(maiMost)+" in all at most.")
	}
	lacks := []string{"quality", "background", "output_format"}
	if req.Answer == "url" {
		lacks = append(lacks, "response_format")
	}
	if len(req.Inputs) > 0 {
		req.Drop(t, nil, append(slices.Clip(lacks), "size")...)
		return maiChange(req, t)
	}
	req.Drop(t, nil, lacks...)
	dst := llm.AppendString([]byte(`{"model":`), t.Model)
	dst = llm.AppendString(llm.AppendKey(dst, "prompt"), req.Prompt)
	dst = strconv.AppendInt(llm.AppendKey(dst, "width"), w, 10)
	dst = strconv.AppendInt(llm.AppendKey(dst, "height"), h, 10)
	return &llm.Sent{Body: append(dst, '}')}, nil
}

func maiChange(req *picture.Request, t *llm.Target) (*llm.Sent, error) {
	if len(req.Inputs) > 1 {
		return nil, llm.Unsayable("image", "The model's provider changes one picture at a time.")
	}
	f := multipart.New()
	f.Field("model", t.Model)
	f.Field("prompt", req.Prompt)
	f.File("image", "image", req.Inputs[0].Type, req.Inputs[0].Data)
	return &llm.Sent{Pieces: f.Pieces(), Type: f.Type(), Path: changes + Query(t.Options)}, nil
}

// Query is the version of the API for the options of a deployment.
func Query(options map[string]string) string {
	version := options["api_version"]
	if version == "" {
		version = DefaultVersion
	}
	return "?api-version=" + url.QueryEscape(version)
}

// DecodeResponse reads an answer, which is in OpenAI's form.
func (Format) DecodeResponse(body []byte) (*picture.Response, error) { return picture.FromData(body) }
