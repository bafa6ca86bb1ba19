package adminapi

import (
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

// humaConfig is huma's own without what adds to bodies or serves pages from the internet.
func humaConfig(version string) huma.Config {
	cfg := huma.DefaultConfig("Conclave admin API", version)
	cfg.CreateHooks = nil
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.Formats = map[string]huma.Format{
		"application/json":             huma.DefaultJSONFormat,
		"application/merge-patch+json": huma.DefaultJSONFormat,
		"json":                         huma.DefaultJSONFormat,
	}
	cfg.RejectUnknownQueryParameters = true
	cfg.Info.Description = "Every write answers with x-conclave-index; a request with x-conclave-min-index reads no older state. " +
		"A replacement names the version that it replaces. Amounts are US dollars."
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "the master key, or a virtual key with a role"},
	}
	aliasTypes(cfg.Components.Schemas)
	return cfg
}

// The schemas of types whose JSON form Go's type does not show.
type (
	moneySchema    struct{}
	amountSchema   struct{}
	rateSchema     struct{}
	timeSchema     struct{}
	secretSchema   struct{}
	perSchema      struct{}
	roleSchema     struct{}
	strategySchema struct{}
	hookSchema     struct{}
	onErrorSchema  struct{}
)

func (moneySchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Description: "US dollars, exact to nine decimals"}
}

func (amountSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Description: "in the unit: US dollars, tokens, requests or GPU-seconds"}
}

func (rateSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Description: "US dollars for one unit, exact to fifteen decimals"}
}

func (timeSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Nullable: true}
}

func (secretSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Description: "written as text, shown as a fingerprint only",
		OneOf: []*huma.Schema{
			{Type: huma.TypeString},
			{Type: huma.TypeObject, Properties: map[string]*huma.Schema{"fingerprint": {Type: huma.TypeString}}},
		},
	}
}

func (perSchema) Schema(huma.Registry) *huma.Schema {
	return oneOf(resource.PerHour, resource.PerDay, resource.PerWeek, resource.PerMonth, resource.PerTotal)
}

func (roleSchema) Schema(huma.Registry) *huma.Schema {
	return oneOf(resource.RoleInference, resource.RoleAdmin, resource.RoleViewer)
}

func (strategySchema) Schema(huma.Registry) *huma.Schema { return oneOf(resource.Strategies...) }

func (hookSchema) Schema(huma.Registry) *huma.Schema {
	return oneOf(resource.HookBefore, resource.HookDuring, resource.HookAfter)
}

func (onErrorSchema) Schema(huma.Registry) *huma.Schema {
	return oneOf(resource.OnErrorBlock, resource.OnErrorPass)
}

func oneOf[S ~string](values ...S) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeString}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

func aliasTypes(r huma.Registry) {
	for _, a := range []struct{ of, as reflect.Type }{
		{typeOf[resource.Money](), typeOf[moneySchema]()},
		{typeOf[client.Amount](), typeOf[amountSchema]()},
		{typeOf[resource.Rate](), typeOf[rateSchema]()},
		{typeOf[resource.Time](), typeOf[timeSchema]()},
		{typeOf[client.Secret](), typeOf[secretSchema]()},
		{typeOf[resource.Sealed](), typeOf[secretSchema]()},
		{typeOf[resource.Per](), typeOf[perSchema]()},
		{typeOf[resource.Role](), typeOf[roleSchema]()},
		{typeOf[resource.Strategy](), typeOf[strategySchema]()},
		{typeOf[resource.Hook](), typeOf[hookSchema]()},
		{typeOf[resource.OnError](), typeOf[onErrorSchema]()},
	} {
		r.RegisterTypeAlias(a.of, a.as)
	}
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// describeBodies puts the record's schema on the bodies of its writing operations, which
// read bytes, because what is absent, null and given differ there.
func (s *Server) describeBodies(path string) {
	paths := s.api.OpenAPI().Paths
	list, one := paths[Prefix+path], paths[Prefix+path+"/{id}"]
	schema := one.Get.Responses["200"].Content["application/json"].Schema
	for _, w := range []struct {
		op    *huma.Operation
		media string
	}{
		{list.Post, "application/json"},
		{one.Put, "application/json"},
		{one.Patch, "application/merge-patch+json"},
	} {
		w.op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{w.media: {Schema: schema}}}
	}
}

// finishOpenAPI marks what only the server writes and serves the document.
func (s *Server) finishOpenAPI() {
	for _, schema := range s.api.OpenAPI().Components.Schemas.Map() {
		if schema.Properties["created_at"] == nil {
			continue // not a record
		}
		schema.Required = nil // of records, as written; every field may be left out somewhere
		for name, p := range schema.Properties {
			if slices.Contains(records.ServerFields, name) && p.Ref == "" {
				p.ReadOnly = true
			}
		}
	}
	for _, item := range s.api.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op != nil {
				delete(op.Responses, "422") // which huma adds, and newHumaError makes a 400
			}
		}
	}
	s.handle(Route{ID: "get-schema", Method: http.MethodGet, Pattern: Prefix + "/openapi.json"}, s.serveOpenAPI, s.writeProblem)
}

func (s *Server) serveOpenAPI(w http.ResponseWriter, _ *http.Request, _ records.Caller) error {
	b, err := s.OpenAPI()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/openapi+json")
	_, err = w.Write(b)
	return err
}
