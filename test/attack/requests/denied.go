package requests

import "github.com/septum-dev/septum/policy"

// deniedPaths allows everything but a few paths.
func deniedPaths() Table {
	either := func(target string, code int) Case {
		if code != 200 {
			return get(target, target, code, "")
		}
		return get(target, target, code, target)
	}
	return Table{
		Section: "Path", Name: "everything but what is denied",
		Rules: []policy.HTTPRule{
			{Action: policy.Deny, Path: regex("/admin(/.*)?")},
			{Action: policy.Deny, Path: exact("/static")},
			{Action: policy.Deny, Path: exact("/old?y")},
			{Action: policy.Deny, Path: regex("/v[12]/?")},
			{},
		},
		Cases: []Case{
			either("/", 200),
			either("/administrator", 200),
			either("/admin", 403),
			either("/admin/x", 403),
			either("/admin?x", 403),
			either("/admin?", 403),
			either("/admin?x=1/../../", 403),
			either("/administrator?/admin", 200),
			either("/static", 403),
			either("/static?v=1", 403),
			either("/static/a?v=1", 200),
			either("/old?x", 200),
			either("/v1?x", 403),
			either("/v2/?x?y", 403),
			either("//admin", 403),
			either("/./admin", 403),
			either("/x/../admin", 403),
			either("/x/..;/admin", 403),
			either("/x/%2e%2e;/admin", 403),
			either("/%61dmin", 403),
			either("/%2561dmin", 403),
			either("/x%2f..%2fadmin", 403),
			either("/x/..%c0%afadmin", 403),
			either("http://h/admin", 403),
			either(`/x\..\admin`, 403),
			either("/admin/\xff", 400),
			either("/admin#", 400),
			// What the policy's author must know of the server: see the documentation.
			either("/ADMIN", 200),
			either("/;x/admin", 200),
			either("/admin;x", 200),
		},
	}
}
