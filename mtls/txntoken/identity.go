package txntoken

import (
	"fmt"
	"strings"

	"lintel.dev/lintel/proxy/exchange"
)

// Identity returns whom a verified (or just minted) transaction is for, nil
// when it has no subject. Claims is the transaction's tctx, shared and only to
// be read.
func Identity(t *exchange.Txn) *exchange.Identity {
	if t == nil || t.Subject == "" {
		return nil
	}
	id := &exchange.Identity{Method: "txn", Subject: t.Subject, Claims: t.Context, Expires: t.Expires}
	if t.Self {
		return id
	}
	id.Issuer, _ = t.Context[ContextIssuer].(string)
	id.Roles, _ = roles(t.Context) // the verifier has refused anything else
	id.Scope = strings.Fields(t.Scope)
	return id
}

// roles reads tctx.roles and checks tctx.sub_iss beside it.
func roles(tctx map[string]any) ([]string, error) {
	if iss, has := tctx[ContextIssuer]; has {
		if s, ok := iss.(string); !ok || !clean(s) {
			return nil, fmt.Errorf("tctx.%s: expected a string without control characters", ContextIssuer)
		}
	}
	v, has := tctx[ContextRoles]
	if !has {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("tctx.%s: expected a list of strings", ContextRoles)
	}
	out := make([]string, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok || s == "" || !clean(s) {
			return nil, fmt.Errorf("tctx.%s[%d]: expected a string without control characters", ContextRoles, i)
		}
		out[i] = s
	}
	return out, nil
}
