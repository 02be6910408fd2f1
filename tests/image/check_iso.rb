# What a Razor or Hanlon server does with an ISO before it takes it (protocol 8.5, 8.7), in the language that they are written in,
# with its own YAML and digests: prints version, weight and build time (seconds since 1970), or says what is wrong and ends with 1.
require "yaml"
require "time"
require "digest/sha2"

def refuse(text)
  warn text
  exit 1
end

def resolve(name)
  name.split("::").inject(Object) { |scope, part| scope.const_get(part) }
end

folder = ARGV.fetch(0)
loader = YAML.respond_to?(:unsafe_load) ? :unsafe_load : :load
meta = YAML.send(loader, File.read(File.join(folder, "iso-metadata.yaml")))
%w[iso_version kernel initrd hash_description kernel_hash initrd_hash iso_build_time].each do |key|
  refuse("no #{key}") if meta[key].nil?
end
%w[kernel initrd].each do |kind|
  path = File.join(folder, meta[kind])
  refuse("no file #{meta[kind]}") unless File.file?(path)
  digest = resolve(meta["hash_description"]["type"]).new(meta["hash_description"]["bitlen"])
  refuse("#{kind}: another hash") unless digest.file(path).hexdigest == meta["#{kind}_hash"]
end
release, count = meta["iso_version"].to_s.delete_prefix("v").split("-")[0].split("+")
parts = release.split(".")
weight = parts.first(3).map { |part| part.rjust(3, "0") }.join.to_i
puts meta["iso_version"], "#{weight}.000#{count.to_i}".to_f, Time.parse(meta["iso_build_time"].to_s).to_i
