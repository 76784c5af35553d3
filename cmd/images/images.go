package main

import v1 "github.com/google/go-containerregistry/pkg/v1"

// Image is what one image is made of.
type Image struct {
	Name  string
	Title string
	// Apart says that the image is built only if it is asked for by its name.
	Apart  bool
	Parts  []part
	Config v1.Config
}

const (
	operatorUser = "65532:65532"
	proxyUser    = "10077:10077"
	rootUser     = "0:0"

	systemPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// images are all images, in the order in which they are built.
func images() []Image {
	return []Image{
		{
			Name:  "septum-operator",
			Title: "Septum's operator: policies in, each node's share out",
			Parts: []part{
				base{},
				goProgram{Package: "./cmd/operator", Binary: "septum-operator", Path: "/septum-operator"},
			},
			Config: v1.Config{User: operatorUser, Entrypoint: []string{"/septum-operator"}},
		},
		{
			Name:  "septum-enforcer",
			Title: "Septum's node enforcer, and the launcher of the node's Envoy",
			Parts: []part{
				base{},
				goProgram{Package: "./cmd/enforcer", Binary: "septum-enforcer", Path: "/septum-enforcer"},
				goProgram{Package: "./cmd/cni", Binary: "septum-cni", Path: "/septum-cni"},
				goProgram{Package: "./cmd/proxy", Binary: "septum-proxy", Path: "/septum-proxy"},
				goProgram{Package: "./cmd/uninstall", Binary: "septum-uninstall", Path: "/septum-uninstall"},
			},
			// The DaemonSet drops all capabilities but the few that the data path needs;
			// they are of no use to another user than root.
			Config: v1.Config{User: rootUser, Entrypoint: []string{"/septum-enforcer"}},
		},
		{
			Name:  "septum-envoy",
			Title: "Stock Envoy and the C library files that it needs",
			Parts: []part{
				base{},
				envoy{Version: "1.40.0", Path: "/usr/local/bin/envoy"},
			},
			Config: v1.Config{User: proxyUser, Entrypoint: []string{"/usr/local/bin/envoy"}, Env: []string{systemPath}},
		},
		{
			Name:  "septum-demo",
			Title: "The demo's server and clients",
			Parts: []part{
				base{},
				goProgram{Package: "./test/demo/app", Binary: "septum-demo", Path: "/septum-demo"},
			},
			Config: v1.Config{User: operatorUser, Entrypoint: []string{"/septum-demo"}},
		},
		{
			Name:  "septum-toolbox",
			Title: "A shell, curl, dig, openssl, grpcurl, kcat and wrk",
			Parts: []part{
				base{},
				debian{Packages: toolboxPackages()},
				goProgram{
					Module:  "cmd/images/toolbox",
					Package: "github.com/fullstorydev/grpcurl/cmd/grpcurl",
					Binary:  "grpcurl", Path: "/usr/local/bin/grpcurl",
				},
			},
			Config: v1.Config{User: rootUser, Cmd: []string{"/bin/sleep", "infinity"}, Env: []string{systemPath, "LANG=C.UTF-8"}},
		},
		{
			Name:  "septum-kafka",
			Title: "A Kafka broker, for the demo and the tests",
			Apart: true,
			Parts: []part{
				base{},
				debian{Packages: []string{"openjdk-17-jre-headless"}},
				kafka{Path: "/opt/kafka"},
			},
			Config: v1.Config{
				User: operatorUser, Env: []string{systemPath},
				Entrypoint: []string{"/usr/bin/java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
					"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", "/opt/kafka/*"},
				Cmd: []string{"kafka.Kafka", "/etc/kafka/server.properties"},
			},
		},
	}
}

func toolboxPackages() []string {
	return []string{
		"bash", "bind9-dnsutils", "ca-certificates", "coreutils", "curl", "dash", "findutils", "grep",
		"gzip", "iproute2", "iputils-ping", "jq", "kcat", "less", "mawk", "netbase", "netcat-openbsd",
		"openssl", "procps", "sed", "tar", "util-linux", "wrk",
	}
}
