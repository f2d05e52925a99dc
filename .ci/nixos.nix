# Evaluates deploy/nixos/module.nix with as much of nixpkgs' lib as it uses, for .ci/nixos. A stub: types are checked and
# defaults filled in as there, but definitions are not merged.
{ module, settings }:

let
  inherit (builtins) all any attrNames attrValues concatMap concatStringsSep elem elemAt filter foldl' hasAttr isAttrs isBool isList isString length listToAttrs mapAttrs match removeAttrs split substring stringLength;

  type = name: check: { inherit name check; fill = path: value: value; };
  types = {
    str = type "str" isString;
    bool = type "bool" isBool;
    package = type "package" isAttrs;
    enum = values: type "one of ${concatStringsSep ", " values}" (value: elem value values);
    listOf = inner: {
      name = "list of ${inner.name}";
      check = value: isList value && all inner.check value;
      fill = path: map (inner.fill path);
    };
    submodule = inner: {
      name = "submodule";
      check = isAttrs;
      fill = path: value: filled path inner.options value (inner ? freeformType);
    };
  };

  isOption = value: isAttrs value && value._type or "" == "option";
  # The options, with what is given and what is not; what is neither is an error.
  filled = path: options: given: isOpen:
    let
      unknown = filter (name: !(hasAttr name options)) (attrNames given);
      one = name: option:
        let here = "${path}.${name}"; in
        if !(isOption option) then filled here option (given.${name} or { }) false
        else
          let value = given.${name} or option.default or (throw "${here} is not set"); in
          if option.type.check value then option.type.fill here value else throw "${here} is no ${option.type.name}";
    in
    if unknown != [ ] && !isOpen then throw "${path}: there is no ${concatStringsSep ", " unknown}"
    else mapAttrs one options // listToAttrs (map (name: { inherit name; value = given.${name}; }) unknown);

  lib = rec {
    inherit types all concatMap;
    mkOption = option: option // { _type = "option"; };
    mkEnableOption = description: mkOption { type = types.bool; default = false; inherit description; };
    mkIf = condition: content: if condition then content else { };
    mkRenamedOptionModule = from: to: { inherit from to; };
    mkRemovedOptionModule = from: message: { inherit from message; };
    literalExpression = text: text;
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    last = list: elemAt list (length list - 1);
    splitString = separator: text: filter isString (split separator text);
    toInt = text: builtins.fromJSON text;
    getExe = package: "${package}/bin/aegis";
  };

  pkgs = {
    formats.toml = { }: {
      type = { name = "TOML"; check = isAttrs; fill = path: value: value; };
      generate = name: value: builtins.toJSON value;
    };
    callPackage = path: { }: { outPath = "/nix/store/aegis"; };
    coreutils = "/nix/store/coreutils";
    diffutils = "/nix/store/diffutils";
  };

  evaluated = import module { inherit lib pkgs; config.services.aegis = config; };
  config = filled "services.aegis" evaluated.options.services.aegis settings false;
  failed = filter (one: !one.assertion) evaluated.config.assertions;
in
if failed != [ ] then throw (concatStringsSep "\n" (map (one: one.message) failed))
else {
  inherit (evaluated) imports;
  inherit (evaluated.config) systemd users networking;
  file = evaluated.config.environment.etc."aegis/aegis.toml".source;
}
