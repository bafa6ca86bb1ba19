package hclfile

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestFormats checks that the page on formats names every block and attribute.
func TestFormats(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	has := func(name string) bool {
		return strings.Contains(string(page), "`"+name+"`") || strings.Contains(string(page), "`"+name+" \"") ||
			strings.Contains(string(page), name+" \"NAME\"")
	}
	for kind := range kinds {
		if !has(kind) {
			t.Errorf("docs/formats.md lacks the block %s", kind)
		}
	}
	for _, block := range []any{
		nodeBlock{},
		credentialBlock{},
		modelBlock{},
		deploymentBlock{},
		priceBlock{},
		limitBlock{},
		termsBlock{},
		policyBlock{},
		modelLimitBlock{},
		sessionsBlock{},
		organizationBlock{},
		teamBlock{},
		memberBlock{},
		projectBlock{},
		userBlock{},
		customerBlock{},
		tagBlock{},
		keyBlock{},
		guardrailBlock{},
		callbackBlock{},
		pluginBlock{},
		settingBlock{},
		auditBlock{},
		sinkBlock{},
		snapshotsBlock{},
		s3Block{},
	} {
		typ := reflect.TypeOf(block)
		for f := range typ.Fields() {
			name, kind, _ := strings.Cut(f.Tag.Get("hcl"), ",")
			if name != "" && kind != "label" && !has(name) {
				t.Errorf("docs/formats.md lacks %s of %s", name, typ.Name())
			}
		}
	}
}
