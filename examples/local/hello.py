"""The smallest action: an object in, an object out. What it prints is its log."""


def main(args):
    name = args.get("name", "stranger")
    print(f"greeting {name}")
    return {"greeting": f"Hello, {name}!"}
