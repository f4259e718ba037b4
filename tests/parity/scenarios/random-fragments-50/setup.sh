ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
iptables -t mangle -A PREROUTING -d 192.0.2.10 -p tcp -m multiport --dports 443,80 -j MARK --set-mark 2
iptables -t mangle -A PREROUTING -d 192.0.2.11 -p tcp -m multiport --dports 443,80 -j MARK --set-mark 2
ipvsadm -A -f 2 -s sed
ipvsadm -a -f 2 -r 198.51.100.15:0 -m -w 1
ipvsadm -a -f 2 -r 198.51.100.12:0 -m -w 4
ipvsadm -a -f 2 -r 198.51.100.16:0 -m -w 100
ipvsadm -a -f 2 -r 198.51.100.13:0 -m -w 1
ip route replace local 198.18.0.0/24 dev lo
iptables -t mangle -A PREROUTING -d 198.18.0.0/24 -p tcp -m tcp --dport 80 -j MARK --set-mark 5
ipvsadm -A -f 5 -s wrr -p 30 -M 255.255.255.0
ipvsadm -a -f 5 -r 198.51.100.12:0 -g -w 4
ipvsadm -A -u [2001:db8:1::11]:53 -s lblcr -p 60 --pe sip -o
ipvsadm -a -u [2001:db8:1::11]:53 -r [2001:db8:2::18]:53 -m -w 2
ipvsadm -a -u [2001:db8:1::11]:53 -r [2001:db8:2::12]:53 -m -w 3
ipvsadm -a -u [2001:db8:1::11]:53 -r [2001:db8:2::16]:53 -m -w 2
ipvsadm -A -f 2 -s wlc -p 100
ipvsadm -a -f 2 -r 198.51.100.11:0 -m -w 2
ipvsadm -a -f 2 -r 198.51.100.12:0 -m -w 3
ip link set eth0 mtu 1300
